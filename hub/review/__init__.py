"""Rules, looked over by people: lint, the past decided anew, learnt from."""
