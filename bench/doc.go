// Command bench measures the hub beside what one could put in its place, and writes the tables
// of docs/performance.md.
//
// All targets run at once and are measured in turns (ABC ABC ABC …), so that what else the
// machine does hits all of them alike. Each figure is the median over the rounds, with the
// worst beside it; a single failed request stops the program. The processes measured are
// separate ones, so that the CPU time of each is its own.
//
//	bench [-o FILE] [-rounds 7] [-time 2s] [-conns 16] [-sessions 64] [-memory 1000,10000] [-streams 10000] [-merged 1000]
package main
