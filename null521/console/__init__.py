"""What the programs print for people: help and tables."""
