"""What answers must match to follow the instructions of the catalogue: their constraints, by family.

All of them are single terminals, so that any of them can be met with any other. They are narrower than the checks, on
purpose: a model that was not told of the instruction has to come by what is asked for, and to reach an end. So what
must occur has a place, or comes where a sentence begins, and amounts of white space are small. Else text is free.
"""
