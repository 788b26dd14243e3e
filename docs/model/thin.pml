/* thin: anybody may write marks, as many as they like; which of them are boundaries, and which are remembered?

   Claim LIVE (nothing good is lost).  Wherever a router goes back to for an activation, by what it remembers or by reading the log,
   the governor's coverage of the new version begins there or further on: so its next run joins.
   Claim WORK (I12).  A router ends no more runs than there are spans of append time with a mark in them.
   Claim TIME (I2).  With the run that ends at a mark goes the newest time of every mark before it.

   A partition holds F marks; ONE reads it from the beginning and is covered up to anywhere. TWO started behind any mark at which ONE
   ended a run. SEARCH reads from anywhere. Then an activation comes.

   Mechanisms, each with the switch that takes it away:
     OFF_ENDS      a mark ends a run if the mark before it was appended in another span of EVERY ticks.   Off: every mark does.
     OFF_SAME      ... so that the rule looks at the log alone.     Off: at EVERY ticks from the last mark at which this router ended one.
     OFF_FIRST     nobody goes back to the first mark that he has read: whether it is a boundary he cannot know.     Off: he does.
     OFF_KEPT      the last boundary in each span of SPAN ticks is remembered.    Off: the newest two of all.
     OFF_LAST      ... the last.                                                  Off: the first.
     OFF_MARGIN    a router looks for a boundary MARGIN ticks before the activation.    Off: right before it.
     OFF_CARRY     the time of a mark that ends no run goes with the next that does.    Off: it is lost.

   Abstraction.  All is made up first and then computed; nothing here depends on an order of events. Spans that grow with age are one
   span; what they must be is that no span exceeds the margin at its age (tests/streams/test_boundaries.py). */
#ifndef F
#define F 5
#endif
#define TMAX 9
#define EVERY 2
#define SPAN 4
#ifdef OFF_MARGIN
#define MARGIN 0
#else
#define MARGIN 4
#endif

byte at[F], own[F];                /* append time of each mark, and the time that it claims, never later */
bool one[F], two[F], found[F];     /* who ended a run at it */
bool kept[F];                      /* by the governor */

#ifdef OFF_ENDS
#define ENDS(i, first, last) true
#else
#ifdef OFF_SAME
#define ENDS(i, first, last) (i == first || at[i] >= last + EVERY)
#else
#define ENDS(i, first, last) (i == first || at[i] / EVERY != at[i-1] / EVERY)
#endif
#endif

/* the marks at which a router that starts at `first` ends runs, up to `upto` */
#define CUT(by, first, upto) i = first; last = 0; do :: i < upto -> by[i] = ENDS(i, first, last); \
  if :: by[i] -> last = at[i] :: else fi; i++ :: else -> break od
#ifdef OFF_FIRST
#define KNOWN(first) first
#else
#define KNOWN(first) first + 1
#endif
/* the last boundary before `look`, of those that a router remembers that has read from `first` up to `upto`, and never forward */
#define GO_BACK(by, first, upto) back = 0; i = KNOWN(first); do :: i < upto -> \
  if :: by[i] && at[i] < look -> back = i + 1 :: else fi; i++ :: else -> break od; \
  if :: back > upto -> back = upto :: else fi; assert(back <= start)

init {
  byte i = 0, j = 0, t = 0, last = 0, covered = 0, first = 0, look = 0, activated = 0, start = 0, back = 0, spans = 0, runs = 0;
  byte newest = 0, vouched = 0;
  atomic {
    do
    :: i < F ->
         do :: t < TMAX -> t++ :: true -> break od;
         at[i] = t; if :: own[i] = t :: own[i] = 0 fi; i++
    :: else -> break
    od;
    do :: covered < F -> covered++ :: covered > 0 -> break od;
    do :: activated < TMAX + MARGIN + 1 -> activated++ :: activated > MARGIN -> break od;
    look = activated - MARGIN;

    CUT(one, 0, covered);
    i = 0;
    do                             /* WORK and TIME, of what ONE has written */
    :: i < covered ->
         if :: i == 0 || at[i] / EVERY != at[i-1] / EVERY -> spans++ :: else fi;
         if :: own[i] > newest -> newest = own[i] :: else fi;
#ifdef OFF_CARRY
         if :: one[i] -> runs++; if :: own[i] > vouched -> vouched = own[i] :: else fi; assert(vouched == newest) :: else fi;
#else
         if :: one[i] -> runs++; vouched = newest; assert(vouched == newest) :: else fi;
#endif
         i++
    :: else -> break
    od;
    assert(runs <= spans);

    i = 0;
    do                             /* what the governor remembers of it */
    :: i < covered ->
         kept[i] = one[i]; j = i + 1;
         do
         :: j < covered ->
#ifdef OFF_KEPT
              if :: one[j] -> last++ :: else fi;
#else
#ifndef OFF_LAST
              if :: one[j] && at[j] / SPAN == at[i] / SPAN -> kept[i] = false :: else fi;
#endif
#endif
              j++
         :: else -> break
         od;
#ifdef OFF_KEPT
         last = 0; j = i + 1;
         do :: j < covered -> last = last + one[j]; j++ :: else -> break od;
         if :: last >= 2 -> kept[i] = false :: else fi;
#endif
#ifdef OFF_LAST
         j = 0;
         do :: j < i -> if :: one[j] && at[j] / SPAN == at[i] / SPAN -> kept[i] = false :: else fi; j++ :: else -> break od;
#endif
         if :: kept[i] && at[i] < activated -> start = i + 1 :: else fi;
         i++
    :: else -> break
    od;
    if :: at[covered-1] < activated && one[covered-1] -> start = covered :: else fi;      /* routing.pml: as covered */

    GO_BACK(one, 0, covered);
    do
    :: first < covered -> first++
    :: first == 0 || one[first-1] -> break
    :: first == covered && !one[covered-1] -> first = 0; break
    od;
    CUT(two, first, covered);
    GO_BACK(two, first, covered);
    first = 0;
    do :: first < covered -> first++ :: true -> break od;
    CUT(found, first, covered);
    GO_BACK(found, first, covered);
    i = 0; j = 0; t = 0; last = 0; look = 0; activated = 0; start = 0; back = 0; spans = 0; runs = 0; newest = 0; vouched = 0
  }
}
