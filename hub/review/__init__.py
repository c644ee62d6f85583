"""Rules, looked over for people: lint, the past decided anew, learnt from. No call waits for any of it."""
