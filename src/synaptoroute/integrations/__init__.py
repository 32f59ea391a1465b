"""Other frameworks, one thin module each, with their packages as extras."""
