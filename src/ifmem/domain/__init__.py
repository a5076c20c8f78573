"""What things are: frozen values and their laws."""
