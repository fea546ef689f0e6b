"""Tables, figures and pages of what an evaluation found."""
