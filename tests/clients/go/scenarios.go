package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// The longest first.
var scenarios = []scenario{
	{"rewind", rewind},
	{"retry", retry},
	{"dead_letter", deadLetter},
	{"delay_levels", delayLevels},
	{"delay_times", delayTimes},
	{"request_reply", requestReply},
	{"rebalance", rebalance},
	{"offsets_survive_restart", offsetsSurviveRestart},
	{"orderly", orderly},
	{"transaction", transaction},
	{"broadcasting", broadcasting},
	{"long_polling", longPolling},
	{"send_and_consume", sendAndConsume},
	{"tag_filter", tagFilter},
	{"sql_filter", sqlFilter},
	{"namespace", namespace},
	{"send_async", sendAsync},
	{"send_oneway", sendOneway},
	{"send_batch", sendBatch},
	{"send_compressed", sendCompressed},
	{"pull_consumer", pullConsumer},
}

// Every message is exactly what was sent, once.
func sendAndConsume(c *cluster) {
	topic := c.topic()
	var in inbox
	c.consumer("group", topic, "*", in.accept)
	sent := map[string]*primitive.SendResult{}
	for n := 0; n < 40; n++ {
		m := message(topic, fmt.Sprint("Tag", n%3), n)
		m.WithProperty("unicode", "grün 消息")
		sent[fmt.Sprint("body ", n)] = c.send(m)
	}
	in.only(0, 40)
	for _, m := range in.all() {
		n, result := m.GetProperty("n"), sent[string(m.Body)]
		equal("topic", topic, m.Topic)
		equal("keys", "key-"+n, m.GetKeys())
		equal("unicode", "grün 消息", m.GetProperty("unicode"))
		equal("queue", result.MessageQueue.QueueId, m.Queue.QueueId)
		equal("queue offset", result.QueueOffset, m.QueueOffset)
		equal("offset message id", result.OffsetMsgID, m.OffsetMsgId)
		equal("message id", result.MsgID, m.MsgId)
		equal("reconsume times", int32(0), m.ReconsumeTimes)
	}
}

func tagFilter(c *cluster) {
	topic := c.topic()
	var in inbox
	c.consumer("group", topic, "TagA || TagB", in.accept)
	for n := 0; n < 20; n++ {
		c.send(message(topic, fmt.Sprint("Tag", string("AB"[n%2])), n))
		c.send(message(topic, "TagC", 100+n))
	}
	in.only(0, 20)
}

// The broker needs enablePropertyFilter=true.
func sqlFilter(c *cluster) {
	topic := c.topic()
	var in inbox
	selector := consumer.MessageSelector{Type: consumer.SQL92, Expression: "n < 20 AND (TAGS IN ('TagA') OR n IS NULL)"}
	c.selecting("group", topic, selector, in.accept)
	for n := 0; n < 20; n++ {
		c.send(message(topic, "TagA", n))
		c.send(message(topic, "TagB", 100+n))
		c.send(message(topic, "TagA", 200+n))
	}
	in.only(0, 20)
}

// Clients with a namespace see neither topics nor messages without it.
func namespace(c *cluster) {
	var in, other inbox
	topic := c.name("topic")
	p, err := rocketmq.NewProducer(producer.WithNsResolver(c.resolver()), producer.WithInstanceName(c.instance()), producer.WithNamespace("space"))
	ok("a producer", err)
	ok("start of a producer", p.Start())
	c.shutdowns = append(c.shutdowns, func() { _ = p.Shutdown() })
	_, err = p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(warmUp)))
	ok("the first message", err)
	c.send(primitive.NewMessage(topic, []byte(warmUp)))
	eventually("a route", func() bool { return len(c.queues(topic)) > 0 && len(c.queues("space%"+topic)) > 0 })
	c.consumer("group", topic, "*", in.accept, consumer.WithNamespace("space"))
	c.consumer("group", topic, "*", other.accept)
	for n := 0; n < 10; n++ {
		_, err := p.SendSync(context.Background(), message(topic, "TagA", n))
		ok("send", err)
	}
	in.only(0, 10)
	other.only(0, 0)
}

func sendAsync(c *cluster) {
	topic := c.topic()
	var in inbox
	c.consumer("group", topic, "*", in.accept)
	var done sync.WaitGroup
	var failed atomic.Int32
	for n := 0; n < 50; n++ {
		done.Add(1)
		err := c.producer().SendAsync(context.Background(), func(_ context.Context, r *primitive.SendResult, err error) {
			if err != nil || r.Status != primitive.SendOK {
				failed.Add(1)
			}
			done.Done()
		}, message(topic, "TagA", n))
		ok("send", err)
	}
	done.Wait()
	equal("failed", int32(0), failed.Load())
	in.only(0, 50)
}

func sendOneway(c *cluster) {
	topic := c.topic()
	var in inbox
	c.consumer("group", topic, "*", in.accept)
	for n := 0; n < 20; n++ {
		ok("send", c.producer().SendOneWay(context.Background(), message(topic, "TagA", n)))
	}
	in.only(0, 20)
}

func sendBatch(c *cluster) {
	topic := c.topic()
	var in inbox
	c.consumer("group", topic, "*", in.accept)
	var batch []*primitive.Message
	for n := 0; n < 10; n++ {
		batch = append(batch, message(topic, "TagA", n))
	}
	result := c.send(batch...)
	in.only(0, 10)
	for _, m := range in.all() {
		var n int64
		_, _ = fmt.Sscan(m.GetProperty("n"), &n)
		equal("queue", result.MessageQueue.QueueId, m.Queue.QueueId)
		equal("queue offset", result.QueueOffset+n, m.QueueOffset)
	}
}

func sendCompressed(c *cluster) {
	topic := c.topic()
	var in inbox
	c.consumer("group", topic, "*", in.accept)
	body := strings.Repeat("compress me, ", 10_000)
	c.send(primitive.NewMessage(topic, []byte(body)))
	m := in.await(1)[0]
	equal("the body came back the same", true, string(m.Body) == body)
	if int(m.StoreSize) > len(body)/10 {
		fail("stored in %d bytes", m.StoreSize)
	}
}

// A message that is sent while the pull is parked at the broker must not wait for a poll.
func longPolling(c *cluster) {
	topic := c.topic()
	var in inbox
	arrived := make(chan time.Time, 100)
	c.consumer("group", topic, "*", func(ctx context.Context, m ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for range m {
			arrived <- time.Now()
		}
		return in.accept(ctx, m...)
	})
	c.send(message(topic, "TagA", 0))
	in.await(1)
	c.note = ", ms from send to arrival:"
	for n := 1; n <= 5; n++ {
		time.Sleep(time.Second) // the next pull is parked by now
		for len(arrived) > 0 {
			<-arrived
		}
		begin := time.Now()
		c.send(message(topic, "TagA", n))
		in.await(n + 1)
		c.note += fmt.Sprintf(" %.1f", float64((<-arrived).Sub(begin).Microseconds())/1000)
	}
}

func broadcasting(c *cluster) {
	topic := c.topic()
	var ins [2]inbox
	for i := range ins {
		c.consumer("group", topic, "*", ins[i].accept, consumer.WithConsumerModel(consumer.BroadCasting))
	}
	for n := 0; n < 10; n++ {
		c.send(message(topic, "TagA", n))
	}
	for i := range ins {
		ins[i].only(0, 10)
	}
}

// Two members share the queues; one leaves, and the other takes all of them.
func rebalance(c *cluster) {
	topic := c.topic()
	queues := c.queues(topic)
	var first, second inbox
	c.consumer("group", topic, "*", first.accept)
	leave := c.consumer("group", topic, "*", second.accept)
	n := 0
	round := func() {
		before := len(first.all()) + len(second.all())
		for _, queue := range queues {
			m := message(topic, "TagA", n)
			m.Queue = queue
			c.send(m)
			n++
		}
		eventually("a message of each queue", func() bool { return len(first.all())+len(second.all()) >= before+len(queues) })
	}
	eventually("each gets half of the messages", func() bool {
		a, b := len(first.all()), len(second.all())
		round()
		return len(first.all())-a == len(queues)/2 && len(second.all())-b == len(queues)/2
	})
	leave()
	eventually("the first gets all", func() bool {
		a := len(first.all())
		round()
		return len(first.all())-a >= len(queues)
	})
	eventually("every message, be it twice: a rebalance may repeat some, but lose none", func() bool {
		seen := map[string]bool{}
		for _, m := range append(first.all(), second.all()...) {
			seen[string(m.Body)] = true
		}
		return len(seen) == n
	})
}

// A clean shutdown commits: the next consumer of the group receives only new messages.
func offsetsSurviveRestart(c *cluster) {
	topic := c.topic()
	var before, after inbox
	shutdown := c.consumer("group", topic, "*", before.accept)
	for n := 0; n < 20; n++ {
		c.send(message(topic, "TagA", n))
	}
	before.only(0, 20)
	shutdown()
	for n := 20; n < 25; n++ {
		c.send(message(topic, "TagA", n))
	}
	c.consumer("group", topic, "*", after.accept)
	after.only(20, 25)
}

func retry(c *cluster) {
	topic := c.topic()
	// The group's first consumer makes the broker create %RETRY%group; a later one finds its route at once, not after 30 s.
	c.consumer("group", topic, "*", (&inbox{}).accept)()
	var in inbox
	c.consumer("group", topic, "*", func(ctx context.Context, m ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		in.add(m...)
		if m[0].ReconsumeTimes > 0 || string(m[0].Body) != "body 1" {
			return consumer.ConsumeSuccess, nil
		}
		concurrently, _ := primitive.GetConcurrentlyCtx(ctx)
		concurrently.DelayLevelWhenNextConsume = 1 // 1 s
		return consumer.ConsumeRetryLater, nil
	})
	for n := 0; n < 3; n++ {
		c.send(message(topic, "TagA", n))
	}
	var again *primitive.MessageExt
	eventually("a message once more", func() bool {
		for _, m := range in.all() {
			if m.ReconsumeTimes > 0 {
				again = m
			}
		}
		return again != nil && len(in.all()) >= 4
	})
	equal("body", "body 1", string(again.Body))
	equal("reconsume times", int32(1), again.ReconsumeTimes)
	equal("topic", topic, again.GetProperty(primitive.PropertyRetryTopic))
	equal("keys", "key-1", again.GetKeys())
}

func orderly(c *cluster) {
	topic := c.topic()
	queues := c.queues(topic)[:3]
	var in inbox
	var suspended atomic.Bool
	c.consumer("group", topic, "*", func(_ context.Context, m ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		if string(m[0].Body) == "body 30" && suspended.CompareAndSwap(false, true) {
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		in.add(m...)
		return consumer.ConsumeSuccess, nil
	}, consumer.WithConsumerOrder(true), consumer.WithSuspendCurrentQueueTimeMillis(100*time.Millisecond))
	for n := 0; n < 90; n++ {
		m := message(topic, "TagA", n)
		m.Queue = queues[n%3]
		c.send(m)
	}
	in.only(0, 90)
	equal("suspended once", true, suspended.Load())
	next := []int{0, 1, 2}
	for _, m := range in.all() {
		var n int
		_, _ = fmt.Sscan(m.GetProperty("n"), &n)
		equal("next of its queue", next[n%3], n)
		next[n%3] += 3
	}
}

func pullConsumer(c *cluster) {
	topic := c.topic()
	queue := c.queues(topic)[1]
	first := message(topic, "TagA", 0)
	first.Queue = queue
	begin := c.send(first).QueueOffset
	for n := 1; n < 10; n++ {
		m := message(topic, "TagA", n)
		m.Queue = queue
		c.send(m)
	}
	p := c.pullConsumer("puller", topic)
	result, err := p.PullFrom(context.Background(), queue, begin+3, 4)
	ok("pull", err)
	equal("status", primitive.PullFound, result.Status)
	equal("bodies", []string{"body 3", "body 4", "body 5", "body 6"}, bodies(result.GetMessageExts()))
	equal("next offset", begin+7, result.NextBeginOffset)
	equal("max offset", begin+10, result.MaxOffset)
	equal("min offset", int64(0), result.MinOffset)
}
