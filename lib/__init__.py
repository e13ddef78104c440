"""Four speech-adaptation papers, their metrics and the study that compares them."""
