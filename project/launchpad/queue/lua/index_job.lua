-- Derive what the index has of a job anew from its hash.
-- It is Lua so that it is one step with the change of the hash: it is a part of the transaction that makes that.
--
-- requires:   index
--
-- KEYS        none
-- ARGV[1]     id of the job
-- answer      nil

index(ARGV[1])
