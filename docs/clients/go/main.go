// Sends usage events to tidemark, one JSON event per line. Needs the standard library only.
//
//	TIDEMARK_URL=http://127.0.0.1:8787 TIDEMARK_KEY=tmk_... go run . events.ndjson
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const longestWait = time.Minute

// Client sends usage events.
type Client struct {
	URL, Key string
	// Retries is how often a batch is sent again.
	Retries int
	HTTP    *http.Client
}

// Refused is an event that was not accepted. Correct it; sending it again changes nothing.
type Refused struct {
	Event string `json:"refused"`
	Why   string `json:"why"`
}

// Send sends a batch of events, each a JSON object without line breaks, and returns the refused
// ones; every other event is durable. After an error, send the batch again as it is.
func (c *Client) Send(events []string) ([]Refused, error) {
	status, body, err := c.post([]byte(strings.Join(events, "\n")))
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNoContent:
		return nil, nil
	case status == http.StatusOK:
		return accepted(events, body)
	case status == http.StatusRequestEntityTooLarge && len(events) > 1:
		middle := len(events) / 2
		first, err := c.Send(events[:middle])
		if err != nil {
			return nil, err
		}
		second, err := c.Send(events[middle:])
		return append(first, second...), err
	case status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge:
		// Nothing in this body can be read, or its one event is too large.
		var refused []Refused
		for _, event := range events {
			refused = append(refused, Refused{event, string(body)})
		}
		return refused, nil
	default:
		// 401, 403, 415: correct the key or the URL. Others: still failing after all retries.
		return nil, fmt.Errorf("status %d: %s", status, body)
	}
}

func accepted(events []string, body []byte) ([]Refused, error) {
	var answer struct {
		Refused []struct {
			Index  int
			Detail string
		}
		UsageUnknown []int
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	for _, index := range answer.UsageUnknown {
		fmt.Fprintln(os.Stderr, "no token counts, not charged:", events[index])
	}
	var refused []Refused
	last := -1
	for _, fault := range answer.Refused {
		// All faults of an event follow each other.
		if fault.Index == last {
			refused[len(refused)-1].Why += "; " + fault.Detail
			continue
		}
		last = fault.Index
		refused = append(refused, Refused{events[fault.Index], fault.Detail})
	}
	return refused, nil
}

// Repeating a POST is safe: an event counts once.
func (c *Client) post(body []byte) (int, []byte, error) {
	for attempt := 0; ; attempt++ {
		status, answer, retryAfter, err := c.try(body)
		if attempt >= c.Retries || (err == nil && !isRetried(status)) {
			return status, answer, err
		}
		backoff := longestWait
		if attempt < 7 {
			backoff = 500 * time.Millisecond << attempt
		}
		wait := backoff/2 + time.Duration(rand.Int63n(int64(backoff/2)))
		if wait < retryAfter {
			wait = retryAfter
		}
		time.Sleep(wait)
	}
}

func (c *Client) try(body []byte) (status int, answer []byte, retryAfter time.Duration, err error) {
	request, err := http.NewRequest("POST", c.URL+"/api/v1/events?partial=true", bytes.NewReader(body))
	if err != nil {
		return 0, nil, 0, err
	}
	request.Header.Set("Authorization", "Bearer "+c.Key)
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, nil, 0, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return response.StatusCode, answer, time.Duration(seconds) * time.Second, err
}

func isRetried(status int) bool {
	switch status {
	case 408, 429, 500, 502, 503, 504, 507:
		return true
	}
	return false
}

func setting(name string, usual int) int {
	if number, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return number
	}
	return usual
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var events []string
	for _, line := range strings.Split(string(text), "\n") {
		if strings.TrimSpace(line) != "" {
			events = append(events, line)
		}
	}
	client := &Client{
		URL:     os.Getenv("TIDEMARK_URL"),
		Key:     os.Getenv("TIDEMARK_KEY"),
		Retries: setting("TIDEMARK_RETRIES", 10),
		HTTP:    &http.Client{Timeout: time.Minute},
	}
	size, code := setting("TIDEMARK_BATCH", 500), 0
	for start := 0; start < len(events); start += size {
		end := start + size
		if end > len(events) {
			end = len(events)
		}
		refused, err := client.Send(events[start:end])
		if err != nil {
			fmt.Fprintf(os.Stderr, "not sent from event %d on: %v\n", start, err)
			os.Exit(1)
		}
		for _, one := range refused {
			code = 3
			line, _ := json.Marshal(one)
			fmt.Println(string(line))
		}
	}
	os.Exit(code)
}
