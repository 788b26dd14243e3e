"""The deciding half of Failshut: evidence, policies, conditions, breakers, governors; permits and the store."""
