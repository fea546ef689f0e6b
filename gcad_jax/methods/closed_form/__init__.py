"""GCAD's idea in closed form: frozen descriptors, two branches, no gradient step."""

from gcad_jax.methods.closed_form.method import ClosedForm as ClosedForm

# Detector files name the class by its module, and must outlive how it is split.
ClosedForm.__module__ = __name__
