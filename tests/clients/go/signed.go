package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// signed runs a producer and a consumer with credentials: USER,SECRET,TOPIC,GROUP,FORBIDDEN as in Signed.java, whose lines it prints.
func signed(namesrv, words string) {
	rlog.SetLogLevel("fatal")
	w := strings.Split(words, ",")
	user, secret, topic, group, forbidden := w[0], w[1], w[2], w[3], w[4]
	resolver := primitive.NewPassthroughResolver([]string{namesrv})
	send := func(name, secret, topic string, body []byte) string {
		options := []producer.Option{producer.WithNsResolver(resolver), producer.WithGroupName(name), producer.WithInstanceName(name), producer.WithRetry(0)}
		if secret != "" {
			options = append(options, producer.WithCredentials(primitive.Credentials{AccessKey: user, SecretKey: secret}))
		}
		p, err := rocketmq.NewProducer(options...)
		ok("a producer", err)
		ok("start of a producer", p.Start())
		defer p.Shutdown()
		sent, err := p.SendSync(context.Background(), primitive.NewMessage(topic, body))
		if err != nil {
			return "refused"
		}
		return map[bool]string{true: "SEND_OK", false: "not"}[sent.Status == primitive.SendOK]
	}
	fmt.Println("sent", send("signed", secret, topic, []byte("a body")))
	fmt.Println("forbidden", send("forbidden", secret, forbidden, []byte("a body")))
	fmt.Println("long", send("long", secret, topic, make([]byte, 1<<20)))
	fmt.Println("wrong", send("wrong", secret+"x", topic, []byte("a body")))
	fmt.Println("unsigned", send("unsigned", "", topic, []byte("a body")))
	lengths := make(chan int, 64)
	c, err := rocketmq.NewPushConsumer(consumer.WithNsResolver(resolver), consumer.WithGroupName(group), consumer.WithInstance("signed-consumer"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithCredentials(primitive.Credentials{AccessKey: user, SecretKey: secret}))
	ok("a consumer", err)
	ok("subscribe", c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			lengths <- len(m.Body)
		}
		return consumer.ConsumeSuccess, nil
	}))
	ok("start of a consumer", c.Start())
	total := 0
	for n := 0; n < 2; n++ {
		select {
		case length := <-lengths:
			total += length
		case <-time.After(60 * time.Second):
		}
	}
	fmt.Println("received", total)
	ok("shutdown", c.Shutdown())
	fmt.Println("DONE")
}
