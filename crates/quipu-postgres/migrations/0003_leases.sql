-- For how long a lease was given, in microseconds: where much more than that is left of it, the clock was
-- set back since. Of those that are there it is not known.
alter table quipu.leases add column ttl bigint not null default 9223372036854775807;
