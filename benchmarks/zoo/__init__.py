"""Making of the model zoo: trained models become shipped files, and the catalogue becomes MODEL_ZOO.md."""
