"""Pure: events, records, the policy and every decision. No I/O, no clock."""
