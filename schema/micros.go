package schema

import "time"

// Micros is a moment in UTC microseconds since 1970, as every time column holds it. Zero
// stands for "not yet" where a column's comment says so.
type Micros int64

// MicrosOf gives t in microseconds.
func MicrosOf(t time.Time) Micros { return Micros(t.UnixMicro()) }

// Time gives the moment in UTC.
func (m Micros) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// OneSecond is the precision that clients are shown.
const OneSecond Micros = 1_000_000

// Second is the beginning of the moment's second.
func (m Micros) Second() Micros {
	past := m % OneSecond
	if past < 0 {
		past += OneSecond
	}
	return m - past
}

// ISO is the whole-second form with a Z, as in a server's "created".
func (m Micros) ISO() string { return m.Time().Format("2006-01-02T15:04:05Z") }

// ISOMicros is the form with six digits of fraction and no zone, as in launched_at.
func (m Micros) ISOMicros() string { return m.Time().Format("2006-01-02T15:04:05.000000") }

// Clock tells the time; tests move their own.
type Clock func() time.Time

// Now reads the clock in microseconds; a nil clock is the machine's.
func (c Clock) Now() Micros {
	if c == nil {
		return MicrosOf(time.Now())
	}
	return MicrosOf(c())
}
