/* reopen: a gate that a condition closed, a fault that lasts, readings that come late or not at all, and a cooldown.

   Claim (I7, I11).  A breaker that a fault has tripped is not reset before the fault was over at some time after the closing.

   Mechanisms, each with the switch that takes it away:
     OFF_STANDS   the demand stands until W readings in a row are back. Off: it ends with its cooldown, as a detector that has
                  got used to the fault would have it; a series that falls silent is then reset as well.
     OFF_NEWS     only readings whose own time is after the closing count towards these. Off: what was sent before the fault and
                  comes late counts too.

   Abstraction: one condition, whose detector speaks at a bad reading; a reading says what was true at its own time. The fault
   begins and ends once. Limit: a detector that is late is a detector that speaks later; nothing here asks how late. */
#define TMAX 8
#define W 2
#define COOL 1
#ifdef OFF_STANDS
#define BACK true
#else
#define BACK (back >= W)
#endif
byte now = 1, began = 0, ended = 0, closedAt = 0, back = 0;
bool open = true;

inline read(own) {
  bool bad = (began > 0 && own >= began && (ended == 0 || own < ended));
  if
  :: open && bad && own == now -> open = false; closedAt = now; back = 0
  :: !open ->
       if
#ifdef OFF_NEWS
       :: !bad -> back++
#else
       :: !bad && own > closedAt -> back++
       :: !bad && own <= closedAt -> skip
#endif
       :: bad -> back = 0
       fi
  :: else -> skip
  fi
}
active proctype World() {
  byte own;
  end: do
  :: atomic { now < TMAX -> now++ }
  :: atomic { began == 0 -> began = now }
  :: atomic { began > 0 && ended == 0 && now > began -> ended = now }
  :: atomic { back < W -> read(now) }
  :: atomic { back < W && now > 1 -> own = 1; do :: own < now -> own++ :: true -> break od; read(own) }
  :: atomic { !open && now > closedAt + COOL && BACK -> assert(ended > 0 && ended >= closedAt); open = true; back = 0 }
  od
}
