"""Tables, plots and notes of the documents, one file per subject: reports and commands show the same ones."""
