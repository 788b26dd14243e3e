"""What carries out the commands on a ledger: following the topic, key files, pages for people."""
