"""`null521 report`: which senders try to send mail to this host, from the records."""
