"""Parts of the simulation of atypical speech: segments of a recording, speaker profiles, fluency, and voice."""
