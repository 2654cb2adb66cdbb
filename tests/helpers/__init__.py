"""What tests of several modules share. No test is in here."""
