"""Training of the encoders in ``synaptoroute/encoder/weights``; not part of the wheel. See README.md here."""
