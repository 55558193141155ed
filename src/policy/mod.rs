//! What was promised: policies, schedules, the 3-2-1 rule, objectives. Decisions with reasons; now and facts are arguments.
