/* grow: a partition is added to a front-door topic, and the bad value goes there.

   Claim (I2, I6).  Evidence time never passes a bad value that was not judged, though routers and mark writers learn of the new
   partition late.

   Mechanisms, each with the switch that takes it away:
     OFF_COUNT      a mark carries its topic's partition count; evidence time is the oldest over the largest count seen.
                    Off: over the partitions that the governor has had marks of.
     OFF_AFTER      the count is read from the broker after the mark's time was taken.   Off: it comes from a cache, some ticks old.
     OFF_ZERO       Coverage of a partition that appears starts at 0.                    Off: where its first run starts.

   Abstraction: logs made up first, the governor judges at once (see routing.pml). A router that learns of the partition late begins
   at its start or, being set up wrongly, at its present end. Limits: one partition added, one bad value. */
#ifndef F
#define F 4
#endif
#define TMAX 4
#define MARK 1
#define BAD 2
typedef Log { byte kind[F]; byte at[F]; byte count[F]; byte next = 0; byte mark = 0; byte covered = 0 };
Log log[2];
byte added = 0, counted = 1, badAt = 0;
bool anyBad = false, judged = false, late = false;
hidden byte evidence, previous;

inline check() {
  evidence = (counted == 1 || log[0].mark < log[1].mark -> log[0].mark : log[1].mark);
  assert(!anyBad || judged || evidence <= badAt);
  evidence = 0
}
inline take(p) {
  if
#ifdef OFF_ZERO
  :: log[p].next >= log[p].covered || log[p].covered == 0 ->
#else
  :: previous == log[p].covered ->
#endif
       log[p].covered = log[p].next + 1;
       if
       :: log[p].kind[log[p].next] == BAD -> judged = true
       :: else ->
            if :: log[p].at[log[p].next] > log[p].mark -> log[p].mark = log[p].at[log[p].next] :: else fi;
#ifdef OFF_COUNT
            if :: p == 1 -> counted = 2 :: else fi
#else
            if :: p == 1 || log[p].count[log[p].next] == 2 -> counted = 2 :: else fi
#endif
       fi
  :: else                                  /* a gap: refused */
  fi;
  log[p].next++; previous = 0;
  check()
}
active proctype World() {
  byte p = 0, i = 0, t = 1;
  atomic {
    if :: added = 1 :: added = 2 :: added = 3 fi;
    do
    :: p < 2 && i < F ->
         if :: t < TMAX -> t++ :: true fi;
         if :: p == 1 && t < added -> t = added :: else fi;
         log[p].at[i] = t;
         if
         :: log[p].kind[i] = MARK;
#ifdef OFF_AFTER
              log[p].count[i] = (added + 1 < t -> 2 : 1)
#else
              log[p].count[i] = (added <= t -> 2 : 1)
#endif
         :: p == 1 && !anyBad -> log[p].kind[i] = BAD; anyBad = true; badAt = t
         fi; i++
    :: p < 2 && i == F -> p++; i = 0; t = 1
    :: else -> break
    od; p = 0; i = 0; t = 0
  }
  end: do
  :: atomic { log[0].next < F -> previous = log[0].covered; take(0) }
  :: atomic { log[1].next < F ->
       previous = (late && log[1].covered == 0 -> log[1].next : log[1].covered);
       take(1) }
  :: atomic { !late && log[1].next == 0 -> late = true; do :: log[1].next < F - 1 -> log[1].next++ :: true -> break od }
  od
}
