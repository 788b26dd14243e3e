/* bypass: an operator keeps a tripped gate open against a demand, until an absolute end, or until an operator ends it.

   Claim (I6).  No execution starts later than a demand's time + TTL, or than the bypass's end if the bypass covers that demand:
   its operator could see it, or it is of a condition named and came while the bypass was in force. An early end stands in control
   like every order: no execution that only the bypass allows starts later than that end's time + TTL.
   (The guard's clock tolerance comes on top.)

   Mechanisms, each with the switch that takes it away:
     OFF_CAP          a permit under a bypass expires at the bypass's end at the latest.   Off: at evidence time + TTL.
     OFF_NAMES_EPOCH  a bypass names the epoch that it answers.                            Off: it is taken whenever it comes.
     OFF_VOID         a later demand of a condition that it does not name voids it.        Off: it stays in force.
     OFF_ENDS         from its end on, judged by the newest mark, it is over.              Off: it stays in force.
     OFF_EARLY        an early end ends it when control brings it.                         Off: it is taken and changes nothing.
     OFF_ANY_EPOCH    an early end names no epoch.                                         Off: it names the one that its operator saw.
   OFF_ENDS alone keeps the claim: the cap does; without either it does not.

   Abstraction: a telemetry partition (marks, demands of condition 1, which the bypass names, or 2, lapses that end again) and the
   control partition (marks, the bypass, its early end), made up first; the governor judges at once, and what is asserted is the
   permit that it signs: a governor that lags signs the same. A lapse that has ended leaves nothing but another epoch. Early end and
   lapse come with EARLY_END alone. Limits: two demands, one bypass, one early end, one lapse, no reset. */
#ifndef F
#define F 4
#endif
#define TMAX 4
#define TTL 2
#ifdef EARLY_END                           /* an operator may end it early, and a lapse may come */
#define BYPASS_FOR 3
#else
#define BYPASS_FOR 1
#endif
#define MARK 1
#define DEMAND 2                           /* DEMAND + 1, DEMAND + 2: by condition */
#define BYPASS 5
#define EARLY 6
#define LAPSE 7
typedef Log { byte kind[F]; byte at[F]; byte next = 0; byte mark = 0 };
Log log[2];
byte demands = 0, demandAt[2], condition[2];
byte judged = 0, seen = 0, epoch = 1, named = 0, place = 1, ends = 0, endedAt = 0, endNames = 0;
bool anyBypass = false, written = false, inForce = false, anyEnd = false, endWritten = false, endRead = false, anyLapse = false;
byte covered = 0;                          /* truth: bits of the demands that the bypass covers */
hidden byte evidence, expires, i;

inline sign() {
  evidence = (log[0].mark < log[1].mark -> log[0].mark : log[1].mark);
#ifndef OFF_ENDS
  if :: inForce && (log[0].mark >= ends || log[1].mark >= ends) -> inForce = false; epoch = place :: else fi;
#endif
  if
  :: evidence > 0 && (judged == 0 || inForce) ->
       expires = evidence + TTL;
#ifndef OFF_CAP
       if :: inForce && expires > ends -> expires = ends :: else fi;
#endif
       i = 0;
       do
       :: i < demands ->
            assert(expires <= demandAt[i] + TTL ||
                   ((covered & (1 << i)) && expires <= ends && (!endWritten || expires <= endedAt + TTL)));
            i++
       :: else -> break
       od
  :: else
  fi;
  evidence = 0; expires = 0; i = 0
}
inline take(p) {
  place++;
  if
  :: log[p].kind[log[p].next] == MARK -> if :: log[p].at[log[p].next] > log[p].mark -> log[p].mark = log[p].at[log[p].next] :: else fi
  :: log[p].kind[log[p].next] == BYPASS ->
       if
#ifdef OFF_NAMES_EPOCH
       :: written ->
#else
       :: written && named == epoch ->
#endif
            inForce = true; covered = (1 << seen) - 1; epoch = place
       :: else
       fi
  :: log[p].kind[log[p].next] == EARLY ->
       endRead = true;
       if
#ifdef OFF_ANY_EPOCH
       :: endWritten && inForce && endNames == epoch ->
#else
       :: endWritten && inForce ->
#endif
#ifndef OFF_EARLY
            inForce = false;
#endif
            epoch = place
       :: else
       fi
  :: log[p].kind[log[p].next] == LAPSE -> epoch = place
  :: else ->
       if
       :: inForce && condition[judged] == 1 -> covered = covered | (1 << judged)
       :: else ->
#ifndef OFF_VOID
            inForce = false;
#endif
            epoch = place
       fi;
       judged++
  fi;
  log[p].next++;
  sign()
}
active proctype World() {
  byte p = 0, j = 0, t = 1;
  atomic {
    do
    :: p < 2 && j < F ->
         if :: t < TMAX -> t++ :: true fi;
         log[p].at[j] = t;
         if
         :: log[p].kind[j] = MARK
         :: p == 0 && demands < 2 -> condition[demands] = 1; log[p].kind[j] = DEMAND + 1; demandAt[demands] = t; demands++
         :: p == 0 && demands == 1 -> condition[demands] = 2; log[p].kind[j] = DEMAND + 2; demandAt[demands] = t; demands++
         :: p == 1 && !anyBypass -> log[p].kind[j] = BYPASS; anyBypass = true; ends = t + BYPASS_FOR
#ifdef EARLY_END
         :: p == 0 && !anyLapse -> log[p].kind[j] = LAPSE; anyLapse = true
         :: p == 1 && anyBypass && !anyEnd -> log[p].kind[j] = EARLY; anyEnd = true; endedAt = t
#endif
         fi; j++
    :: p < 2 && j == F -> p++; j = 0; t = 1
    :: else -> break
    od; p = 0; j = 0; t = 0
  }
  end: do
  :: atomic { log[0].next < F -> take(0) }
  :: atomic { log[1].next < F -> take(1) }
  :: atomic { judged > 0 && anyBypass && !written -> written = true; named = epoch; seen = judged }
  :: atomic { inForce && anyEnd && !endWritten && !endRead -> endWritten = true; endNames = epoch }
  od
}
