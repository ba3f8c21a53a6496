"""What results say: concluded here alone, whoever measured."""
