"""Commands about heed itself: doctor, completion, man."""
