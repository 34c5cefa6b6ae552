module tidemark.example/send

go 1.18
