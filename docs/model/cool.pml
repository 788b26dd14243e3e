/* cool: a policy resets its breaker by itself, a cooldown after the closing, while one partition catches up.

   Claim (I7).  The breaker is not reset before COOL has passed in real time since the bad value entered.

   Mechanism, with the switch that takes it away:
     OFF_NEWEST   a closing's time is the newest mark in any partition at its offset; the cooldown counts from there.
                  Off: from evidence time, the oldest; then it passes while the partition that lags catches up.

   Abstraction: logs made up first; real time is at least the newest append time among the records that were read, and is just that
   in the worst case. Limit: real time is known to the governor to the nearest mark, so a bad value may have entered one mark's
   distance after its closing's time; here it stands right behind a mark of its own tick. */
#ifndef F
#define F 5
#endif
#define COOL 2
#define TMAX 6
#define MARK 1
#define BAD 2
typedef Log { byte kind[F]; byte at[F]; byte next = 0; byte mark = 0 };
Log log[2];
byte badAt = 0, now = 0, closed = 0;
bool anyBad = false, tripped = false;

inline take(p) {
  if :: log[p].at[log[p].next] > now -> now = log[p].at[log[p].next] :: else fi;
  if
  :: log[p].kind[log[p].next] == BAD -> tripped = true;
#ifdef OFF_NEWEST
       closed = (log[0].mark < log[1].mark -> log[0].mark : log[1].mark)
#else
       closed = (log[0].mark > log[1].mark -> log[0].mark : log[1].mark)
#endif
  :: else -> if :: log[p].at[log[p].next] > log[p].mark -> log[p].mark = log[p].at[log[p].next] :: else fi
  fi;
  log[p].next++;
  if
  :: tripped && log[0].mark >= closed + COOL && log[1].mark >= closed + COOL -> tripped = false; closed = 0;
       assert(now >= badAt + COOL)
  :: else
  fi
}
active proctype World() {
  byte p = 0, i = 0, t = 1;
  atomic {
    do
    :: p < 2 && i < F ->
         if
         :: do :: t < TMAX -> t++ :: true -> break od; log[p].kind[i] = MARK
         :: p == 0 && i > 0 && !anyBad && log[0].kind[i-1] == MARK -> log[p].kind[i] = BAD; anyBad = true; badAt = t
         fi;
         log[p].at[i] = t; i++
    :: p < 2 && i == F -> p++; i = 0; t = 1
    :: else -> break
    od; p = 0; i = 0; t = 0
  }
  end: do
  :: atomic { log[0].next < F -> take(0) }
  :: atomic { log[1].next < F -> take(1) }
  od
}
