"""`null521 report`: tells from the records who sends mail here."""
