"""One run: its workdir, training and evaluation, plan, merge, pretraining."""
