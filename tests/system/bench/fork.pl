#!/usr/bin/perl
# The design of the 1994 draft: a process forked for each connection. fork.pl PORT
#
# Its dialogue is that of refuse-at=rcpt. The draft's own program waits for a child whenever one ends,
# and accepts nobody meanwhile; here, the kernel collects the children. It needs perl-base only, listens
# on 127.0.0.1 only, and serves for comparison.
use strict;
use warnings;
use Socket qw(:DEFAULT IPPROTO_TCP TCP_NODELAY);

my $host = "fork.example";
my $refusal = "$host is configured NOT to accept any mail.";
my %replies = (
    EHLO => "250-$host\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 SMTPUTF8",
    HELO => "250 $host",
    MAIL => "250 2.1.0 OK",
    RSET => "250 2.0.0 OK",
    NOOP => "250 2.0.0 OK",
    QUIT => "221 2.0.0 $host",
);

socket(my $server, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($server, SOL_SOCKET, SO_REUSEADDR, 1) or die "setsockopt: $!";
bind($server, pack_sockaddr_in($ARGV[0], INADDR_LOOPBACK)) or die "bind: $!";
listen($server, SOMAXCONN) or die "listen: $!";
$SIG{CHLD} = 'IGNORE';    # children do not become zombies: wait(2)

while (1) {
    accept(my $client, $server) or next;
    my $child = fork;
    if (defined $child and $child == 0) {
        close $server;
        answer($client);
        exit;
    }
    close $client;
}

# One session; the alarm ends the process, and with it the connection.
sub answer {
    my ($client) = @_;
    alarm 60;
    # Otherwise the second reply to a segment waits until the client acknowledges the first: RFC 1122, 4.2.3.4.
    setsockopt($client, IPPROTO_TCP, TCP_NODELAY, 1);
    syswrite $client, "220 $host ESMTP fork\r\n";
    while (my $line = <$client>) {
        my ($verb) = $line =~ /^(\w+)(?=\s)/;
        $verb = uc($verb // "");
        syswrite $client, ($replies{$verb} // "521 5.3.2 $refusal") . "\r\n";
        last if $verb eq "QUIT";
    }
}
