"""Dense 3D detection head, its coding and losses, and the candidates that sentences can mean."""
