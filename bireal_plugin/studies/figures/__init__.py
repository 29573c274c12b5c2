"""Pictures of trainings and networks, one file per figure: its numbers and its drawing."""
