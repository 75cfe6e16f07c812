package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// arrivals holds the messages that were sent with a delay, and when each arrived.
type arrivals struct {
	in   inbox
	lock sync.Mutex
	due  map[string]time.Time
	came map[string]time.Time
}

func (a *arrivals) accept(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	a.lock.Lock()
	for _, m := range messages {
		a.came[string(m.Body)] = time.Now()
	}
	a.lock.Unlock()
	return a.in.accept(ctx, messages...)
}

func (a *arrivals) send(c *cluster, m *primitive.Message, delay time.Duration) {
	a.lock.Lock()
	// A time goes over the wire in whole milliseconds.
	a.due[string(m.Body)] = time.Now().Add(delay).Truncate(time.Millisecond)
	a.lock.Unlock()
	c.send(m)
}

// await checks that each message came once and not before its time. It prints how late they came, without a limit.
func (a *arrivals) await(c *cluster) {
	a.in.only(0, len(a.due))
	a.lock.Lock()
	defer a.lock.Unlock()
	c.note = ", ms late:"
	for body, due := range a.due {
		late := a.came[body].Sub(due)
		if late < 0 {
			fail("%s came %s before its time", body, -late)
		}
		c.note += fmt.Sprintf(" %d", late.Milliseconds())
	}
}

func newArrivals(c *cluster) (*arrivals, string) {
	a := &arrivals{due: map[string]time.Time{}, came: map[string]time.Time{}}
	topic := c.topic()
	c.consumer("group", topic, "*", a.accept)
	return a, topic
}

func delayLevels(c *cluster) {
	a, topic := newArrivals(c)
	for n, delay := range []time.Duration{time.Second, 5 * time.Second, 10 * time.Second} {
		m := message(topic, "TagA", n)
		m.WithDelayTimeLevel(n + 1)
		a.send(c, m, delay)
	}
	a.await(c)
	for _, m := range a.in.all() {
		equal("REAL_TOPIC", topic, m.GetProperty("REAL_TOPIC"))
	}
}

// The Go client has no call for timed messages; the properties are RocketMQ's.
func delayTimes(c *cluster) {
	a, topic := newArrivals(c)
	timed := func(n int, property string, value any, delay time.Duration) {
		m := message(topic, "TagA", n)
		m.WithProperty(property, fmt.Sprint(value))
		a.send(c, m, delay)
	}
	timed(0, "TIMER_DELAY_MS", 1_500, 1_500*time.Millisecond)
	timed(1, "TIMER_DELAY_SEC", 3, 3*time.Second)
	timed(2, "TIMER_DELIVER_MS", time.Now().Add(2_500*time.Millisecond).UnixMilli(), 2_400*time.Millisecond)
	timed(3, "TIMER_DELIVER_MS", time.Now().Add(-time.Minute).UnixMilli(), 0)
	a.await(c)
}

// The message is sent back until the limit of retries is reached: then it is in %DLQ%group, as it was sent.
func deadLetter(c *cluster) {
	topic := c.topic()
	// The group's first consumer makes the broker create %RETRY%group; a later one finds its route at once, not after 30 s.
	c.consumer("group", topic, "*", (&inbox{}).accept)()
	var tries, letters inbox
	c.consumer("group", topic, "*", func(ctx context.Context, m ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		if string(m[0].Body) == warmUp {
			return consumer.ConsumeSuccess, nil
		}
		tries.add(m...)
		concurrently, _ := primitive.GetConcurrentlyCtx(ctx)
		concurrently.DelayLevelWhenNextConsume = 1 // 1 s
		return consumer.ConsumeRetryLater, nil
	}, consumer.WithMaxReconsumeTimes(2))
	sent := c.send(message(topic, "TagA", 7))
	for n, m := range tries.await(3) {
		equal("reconsume times", int32(n), m.ReconsumeTimes)
	}
	dead := "%DLQ%" + c.name("group")
	eventually("a topic for dead letters", func() bool { return len(c.queues(dead)) > 0 })
	c.consumer("letters", dead, "TagA", letters.accept)
	letter := letters.await(1)[0]
	equal("body", "body 7", string(letter.Body))
	equal("keys", "key-7", letter.GetKeys())
	equal("property", "7", letter.GetProperty("n"))
	equal("topic", dead, letter.Topic)
	equal("RETRY_TOPIC", topic, letter.GetProperty(primitive.PropertyRetryTopic))
	equal("ORIGIN_MESSAGE_ID", sent.OffsetMsgID, letter.GetProperty("ORIGIN_MESSAGE_ID"))
	time.Sleep(1_500 * time.Millisecond) // for what must not come
	equal("tries", 3, len(tries.all()))
	equal("letters", 1, len(letters.all()))
}
