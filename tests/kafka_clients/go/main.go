// Command go runs what is written here of programs with a client of Kafka in Go, against the broker at localhost:9092.
//
// usage: go CLIENT [WORD]    CLIENT: franz-go, sarama or kafka-go. WORD: only cases whose names contain it
//
// A case fails by panicking. Cases that begin with "users: " want a server of their own with users and TLS: the variable PROGRAM is beck,
// without it they are not run. The last line is `N passed, N failed, N skipped`.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	broker = "localhost:9092"
	users  = "users: "
	caseS  = 600 // clients wait for ever for an answer that does not come
	atOnce = 4   // most of the time cases wait for what clients do every few seconds
)

type testCase struct {
	name string
	work func(context.Context)
}

var clients = map[string][]testCase{"franz-go": franzGo, "sarama": ibmSarama, "kafka-go": kafkaGo}

func unique(prefix string) string { return prefix + "-" + rand.Text() }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func get[T any](value T, err error) T {
	must(err)
	return value
}

func equal(is, wanted any, what ...any) {
	if !reflect.DeepEqual(is, wanted) {
		panic(fmt.Sprintf("%s%v, not %v", fmt.Sprintln(what...), is, wanted))
	}
}

func holds(condition bool, what string) {
	if !condition {
		panic(what)
	}
}

// until waits until the condition holds.
func until(ctx context.Context, what string, condition func() bool) {
	for !condition() {
		select {
		case <-ctx.Done():
			panic("never: " + what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func numbers(count int) []string {
	texts := make([]string, count)
	for i := range texts {
		texts[i] = fmt.Sprint(i)
	}
	return texts
}

func sorted(texts []string) []string {
	texts = slices.Clone(texts)
	slices.Sort(texts)
	return texts
}

// What went wrong, or "".
func runOne(work func(context.Context)) string {
	ctx, cancel := context.WithTimeout(context.Background(), caseS*time.Second)
	defer cancel()
	ended := make(chan string, 1)
	go func() {
		defer func() {
			if why := recover(); why != nil {
				ended <- fmt.Sprintf("%v\n%s", why, debug.Stack())
				return
			}
			ended <- ""
		}()
		work(ctx)
	}()
	select {
	case why := <-ended:
		return why
	case <-time.After((caseS + 10) * time.Second):
		return "nothing happens"
	}
}

func main() {
	cases, known := clients[os.Args[min(1, len(os.Args)-1)]]
	if !known {
		fmt.Fprintln(os.Stderr, "which client?")
		os.Exit(2)
	}
	word := strings.Join(os.Args[2:], "")
	passed, failed, skipped := 0, 0, 0
	var lock sync.Mutex
	var all sync.WaitGroup
	slots := make(chan bool, atOnce)
	for _, one := range cases {
		if !strings.Contains(one.name, word) {
			continue
		}
		if strings.HasPrefix(one.name, users) && os.Getenv("PROGRAM") == "" {
			skipped++
			continue
		}
		slots <- true
		all.Go(func() {
			began := time.Now()
			why := runOne(one.work)
			<-slots
			lock.Lock()
			defer lock.Unlock()
			if why != "" {
				failed++
				fmt.Printf("FAILED %s: %s", one.name, why)
			} else {
				passed++
				fmt.Printf("ok %s", one.name)
			}
			if took := time.Since(began); took > 2*time.Second {
				fmt.Printf(" (%.1f s)", took.Seconds())
			}
			fmt.Println()
		})
	}
	all.Wait()
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}
