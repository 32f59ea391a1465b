"""What is in deploy/ fits the server that is in src/."""
