// Package checks runs the checks of a Go client, prints each as `ok   sentence` or `FAIL sentence: why`, and has those
// that every client must pass.
package checks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const checkTimeout = 60 * time.Second

// Check is one sentence and what proves it.
type Check struct {
	Sentence string
	Run      func(context.Context) error
}

var names atomic.Int64

// Address is where Kafka listens.
func Address() string { return os.Getenv("COMPAT_KAFKA") }

// FreshName is a name that no other check and no earlier run uses.
func FreshName(purpose string) string {
	return fmt.Sprintf("%s-%d-%d-%d", purpose, os.Getpid(), time.Now().Unix(), names.Add(1))
}

// Main runs the checks whose sentence contains the first argument (all without one) and exits with 1 if any failed.
func Main(list []Check) {
	wanted, failed := "", false
	if len(os.Args) > 1 {
		wanted = os.Args[1]
	}
	for _, check := range list {
		if !strings.Contains(check.Sentence, wanted) {
			continue
		}
		if err := run(check); err != nil {
			failed = true
			fmt.Printf("FAIL %s: %s\n", check.Sentence, strings.Join(strings.Fields(err.Error()), " "))
		} else {
			fmt.Printf("ok   %s\n", check.Sentence)
		}
	}
	if failed {
		os.Exit(1)
	}
}

// run gives up on a check that does not come back, since a client may not heed its context.
func run(check Check) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if panicked := recover(); panicked != nil {
				done <- fmt.Errorf("panic: %v", panicked)
			}
		}()
		done <- check.Run(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(checkTimeout + 5*time.Second):
		return errors.New("timed out")
	}
}

// Equal is an error with both sides unless they are the same.
func Equal[T comparable](actual, wanted T, what string) error {
	if actual != wanted {
		return fmt.Errorf("%s: %v, expected %v", what, actual, wanted)
	}
	return nil
}

// Until waits for a condition.
func Until(ctx context.Context, what string, condition func() bool) error {
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
