"""`null521 check`: probes a host as a sender would."""
