package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// Requests that a broker sends to its clients on behalf of other clients: a rewind, the reply to a request.

// ask sends a request that no Go client sends; it returns the answer's code and body.
func ask(addr string, code int, fields map[string]string) (int, []byte) {
	conn, err := net.DialTimeout("tcp", addr, 30*time.Second)
	ok("connect to "+addr, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	header, err := json.Marshal(map[string]any{"code": code, "language": "GO", "version": 317, "opaque": 1, "flag": 0, "extFields": fields})
	ok("a header", err)
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	_, err = conn.Write(append(frame, header...))
	ok("a request", err)
	var lengths [8]byte
	_, err = io.ReadFull(conn, lengths[:])
	ok("an answer", err)
	rest := make([]byte, binary.BigEndian.Uint32(lengths[:4])-4)
	_, err = io.ReadFull(conn, rest)
	ok("an answer", err)
	headerLength := binary.BigEndian.Uint32(lengths[4:]) & 0xffffff
	var answer struct{ Code int }
	ok("an answer's header", json.Unmarshal(rest[:headerLength], &answer))
	return answer.Code, rest[headerLength:]
}

// brokers returns the brokers' addresses from the name server's route, whose text is not standard JSON.
func (c *cluster) brokers(topic string) []string {
	_, route := ask(c.namesrv, 105, map[string]string{"topic": topic})
	var addrs []string
	for _, found := range regexp.MustCompile(`"?\b0"?:"([^"]+)"`).FindAllSubmatch(route, -1) {
		addrs = append(addrs, string(found[1]))
	}
	if len(addrs) == 0 {
		fail("no broker in %s", route)
	}
	return addrs
}

func (c *cluster) rewind(topic, group string, to time.Time) {
	for _, addr := range c.brokers(topic) {
		code, _ := ask(addr, 222, map[string]string{"topic": topic, "group": c.name(group), "timestamp": fmt.Sprint(to.UnixMilli()), "isForce": "true", "offset": "-1"})
		equal("code of a rewind", 0, code)
	}
}

// Everything from a chosen time on is delivered again, and nothing from before: to a running consumer, and to one that starts later.
func rewind(c *cluster) {
	topic := c.topic()
	var in, later inbox
	leave := c.consumer("group", topic, "*", in.accept)
	for n := 0; n < 10; n++ {
		c.send(message(topic, "TagA", n))
	}
	in.only(0, 10)
	between := time.Now()
	time.Sleep(100 * time.Millisecond)
	for n := 10; n < 20; n++ {
		c.send(message(topic, "TagA", n))
	}
	in.only(0, 20)
	c.rewind(topic, "group", between)
	begin := time.Now()
	again := bodies(in.await(30)[20:])
	c.note = fmt.Sprintf(", rewound within %d s", int(time.Since(begin).Seconds()))
	equal("from then on", numbered(10, 20), again)
	time.Sleep(500 * time.Millisecond)
	equal("messages", 30, len(in.all()))
	leave()
	c.rewind(topic, "group", between)
	c.consumer("group", topic, "*", later.accept)
	later.only(10, 20)
}

func requestReply(c *cluster) {
	topic := c.topic()
	c.consumer("group", topic, "*", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			if string(m.Body) == warmUp || string(m.Body) == "silence" {
				continue
			}
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err == nil {
				reply.Body = []byte("answer to " + string(m.Body)) // v2.1.2 takes a body for properties.
				_, err = c.producer().SendSync(context.Background(), reply)
			}
			if err != nil {
				fmt.Println("no reply:", err)
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	asks, err := rocketmq.NewProducer(producer.WithNsResolver(c.resolver()), producer.WithGroupName(c.name("asks")), producer.WithInstanceName(c.instance()))
	ok("a producer", err)
	ok("start of a producer", asks.Start())
	c.shutdowns = append(c.shutdowns, func() { _ = asks.Shutdown() })
	// The Go client sends its first request before its first heartbeat, so the broker does not know it yet.
	eventually("an answer", func() bool {
		reply, err := asks.Request(context.Background(), 3*time.Second, primitive.NewMessage(topic, []byte("question 0")))
		return err == nil && string(reply.Body) == "answer to question 0"
	})
	for n := 1; n < 5; n++ {
		reply, err := asks.Request(context.Background(), 60*time.Second, primitive.NewMessage(topic, []byte(fmt.Sprint("question ", n))))
		ok("a request", err)
		equal("reply", fmt.Sprint("answer to question ", n), string(reply.Body))
	}
	called := make(chan string, 1)
	err = asks.RequestAsync(context.Background(), 60*time.Second, func(_ context.Context, reply *primitive.Message, err error) {
		if err != nil {
			called <- err.Error()
			return
		}
		called <- string(reply.Body)
	}, primitive.NewMessage(topic, []byte("question 5")))
	ok("a request", err)
	equal("reply", "answer to question 5", <-called)
	if reply, err := asks.Request(context.Background(), time.Second, primitive.NewMessage(topic, []byte("silence"))); err == nil {
		fail("a reply that nobody sent: %s", reply.Body)
	}
}
