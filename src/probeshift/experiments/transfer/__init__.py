"""transfer: steering vectors of one model in another, through maps fitted on generic text, against controls."""
