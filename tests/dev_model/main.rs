mod model;
mod orders;
mod policy_change;
mod support;
mod worked_examples;
