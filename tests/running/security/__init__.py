"""Attacks on what runs, each module another kind; one stack for each balancer bears them all."""
