"""`null521 check --local`: a look at this host, after the installation or for a bug report."""
