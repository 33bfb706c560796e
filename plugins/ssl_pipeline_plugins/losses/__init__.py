"""Losses: functions of the energies of pairs."""
