package main

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var instances atomic.Int64

// warmUp is the body of the message that creates a topic; inboxes do not keep it.
const warmUp = "warm-up"

// cluster is one scenario's view: its own names, and clients that are shut down when the scenario ends.
type cluster struct {
	namesrv, prefix string
	note            string // printed behind PASS
	shutdowns       []func()
	usual           rocketmq.Producer
}

// failure ends a scenario, by panic.
type failure string

func (f failure) Error() string { return string(f) }

func fail(format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	for skip := 1; ; skip++ {
		_, file, line, known := runtime.Caller(skip)
		if !known {
			panic(failure(why))
		}
		if base := filepath.Base(file); base != "cluster.go" {
			panic(failure(fmt.Sprintf("%s at %s:%d", why, base, line)))
		}
	}
}

func ok(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func equal(what string, expected, got any) {
	if !reflect.DeepEqual(expected, got) {
		fail("%s: expected %v, got %v", what, expected, got)
	}
}

// patience covers the slowest timer of the client, 30 s, on a busy machine.
const patience = 90 * time.Second

// eventually repeats the check until it holds.
func eventually(what string, holds func() bool) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return
		}
	}
	fail("not within %s: %s", patience, what)
}

func (c *cluster) close() {
	for i := len(c.shutdowns) - 1; i >= 0; i-- {
		c.shutdowns[i]()
	}
}

func (c *cluster) name(suffix string) string { return c.prefix + "_" + suffix }

func (c *cluster) instance() string { return fmt.Sprintf("%s_%d", c.prefix, instances.Add(1)) }

func (c *cluster) resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{c.namesrv})
}

// producer sends to the queue that the message names, otherwise round robin.
func (c *cluster) producer() rocketmq.Producer {
	if c.usual == nil {
		p, err := rocketmq.NewProducer(producer.WithNsResolver(c.resolver()), producer.WithGroupName(c.name("producer")),
			producer.WithInstanceName(c.instance()), producer.WithQueueSelector(namedOrNext{producer.NewRoundRobinQueueSelector()}),
			producer.WithSendMsgTimeout(10*time.Second))
		ok("a producer", err)
		ok("start of a producer", p.Start())
		c.shutdowns = append(c.shutdowns, func() { _ = p.Shutdown() })
		c.usual = p
	}
	return c.usual
}

type namedOrNext struct{ next producer.QueueSelector }

func (s namedOrNext) Select(m *primitive.Message, queues []*primitive.MessageQueue, lastBroker string) *primitive.MessageQueue {
	if m.Queue != nil {
		return m.Queue
	}
	return s.next.Select(m, queues, lastBroker)
}

// topic makes the broker create a topic of four queues, by the first message, and waits for its route.
func (c *cluster) topic() string {
	topic := c.name("topic")
	_, err := c.producer().SendSync(context.Background(), primitive.NewMessage(topic, []byte(warmUp)))
	ok("the first message", err)
	eventually("a route", func() bool { return len(c.queues(topic)) > 0 })
	return topic
}

func (c *cluster) queues(topic string) []*primitive.MessageQueue {
	a, err := admin.NewAdmin(admin.WithResolver(c.resolver()))
	ok("an admin client", err)
	defer func() { _ = a.Close() }()
	queues, err := a.FetchPublishMessageQueues(context.Background(), topic)
	if err != nil {
		return nil
	}
	sort.Slice(queues, func(i, j int) bool { return queues[i].String() < queues[j].String() })
	return queues
}

type listener func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// consumer is started; the second value shuts it down before the scenario ends.
func (c *cluster) consumer(group, topic, tags string, f listener, options ...consumer.Option) func() {
	return c.selecting(group, topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, f, options...)
}

func (c *cluster) selecting(group, topic string, selector consumer.MessageSelector, f listener, options ...consumer.Option) func() {
	options = append([]consumer.Option{consumer.WithNsResolver(c.resolver()), consumer.WithGroupName(c.name(group)),
		consumer.WithInstance(c.instance()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	p, err := rocketmq.NewPushConsumer(options...)
	ok("a consumer", err)
	ok("subscribe", p.Subscribe(topic, selector, f))
	ok("start of a consumer", p.Start())
	var once sync.Once
	shutdown := func() { once.Do(func() { _ = p.Shutdown() }) }
	c.shutdowns = append(c.shutdowns, shutdown)
	return shutdown
}

func (c *cluster) pullConsumer(group, topic string) rocketmq.PullConsumer {
	p, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(c.resolver()), consumer.WithGroupName(c.name(group)), consumer.WithInstance(c.instance()))
	ok("a pull consumer", err)
	ok("subscribe", p.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
	ok("start of a pull consumer", p.Start())
	c.shutdowns = append(c.shutdowns, func() { _ = p.Shutdown() })
	return p
}

func message(topic, tag string, n int) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(fmt.Sprint("body ", n)))
	m.WithTag(tag)
	m.WithKeys([]string{fmt.Sprint("key-", n)})
	m.WithProperty("n", fmt.Sprint(n))
	return m
}

func (c *cluster) send(m ...*primitive.Message) *primitive.SendResult {
	result, err := c.producer().SendSync(context.Background(), m...)
	ok("send", err)
	equal("status", primitive.SendOK, result.Status)
	return result
}

// inbox keeps the messages that a consumer received, in the order of their arrival.
type inbox struct {
	lock     sync.Mutex
	messages []*primitive.MessageExt
}

func (i *inbox) accept(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	i.add(messages...)
	return consumer.ConsumeSuccess, nil
}

func (i *inbox) add(messages ...*primitive.MessageExt) {
	i.lock.Lock()
	defer i.lock.Unlock()
	for _, m := range messages {
		if string(m.Body) != warmUp {
			i.messages = append(i.messages, m)
		}
	}
}

func (i *inbox) all() []*primitive.MessageExt {
	i.lock.Lock()
	defer i.lock.Unlock()
	return append([]*primitive.MessageExt(nil), i.messages...)
}

func (i *inbox) await(n int) []*primitive.MessageExt {
	eventually(fmt.Sprintf("%d messages", n), func() bool { return len(i.all()) >= n })
	return i.all()
}

// only fails unless exactly the messages numbered from..to have come, each once, and nothing else has come half a second later.
func (i *inbox) only(from, to int) {
	i.await(to - from)
	time.Sleep(500 * time.Millisecond)
	equal("bodies", numbered(from, to), bodies(i.all()))
}

func numbered(from, to int) []string {
	var expected []string
	for n := from; n < to; n++ {
		expected = append(expected, fmt.Sprint("body ", n))
	}
	sort.Strings(expected)
	return expected
}

func bodies(messages []*primitive.MessageExt) []string {
	var b []string
	for _, m := range messages {
		b = append(b, string(m.Body))
	}
	sort.Strings(b)
	return b
}
