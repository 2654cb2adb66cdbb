"""A user's mail client: hands one message to the mail server of the host that it runs on.

    python3 submit.py FROM TO[,TO...] [PARAMETER...] < MESSAGE

The parameters are those of MAIL, such as BODY=8BITMIME. It ends with status 1, and shows the
server's reply, where that does not take the message for all recipients. It must not know which
server that is.
"""

import smtplib
import sys


def main(sender: str, recipients: str, *parameters: str) -> None:
    """One SMTP session with 127.0.0.1."""
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="localhost", timeout=20) as server:
        message = sys.stdin.buffer.read().replace(b"\n", b"\r\n")
        to = recipients.split(",")
        try:
            refused = server.sendmail(sender, to, message, mail_options=parameters)
        except smtplib.SMTPException as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from None
        if refused:
            raise SystemExit(f"refused: {refused}")


if __name__ == "__main__":
    main(*sys.argv[1:])
