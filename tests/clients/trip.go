// Books, rolls back, does not wait, looks up, lists, cancels and is refused, by a generated client.
package main

import (
	"context"
	"fmt"
	"os"

	trips "github.com/trips/client"
)

func check(holds bool, what ...any) {
	if !holds {
		fmt.Fprintln(os.Stderr, what...)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	configuration := trips.NewConfiguration()
	configuration.Servers = trips.ServerConfigurations{{URL: os.Args[1]}}
	api := trips.NewAPIClient(configuration).BookingsAPI

	wanted := trips.NewBookRequest(" Łukasz", "valid-car", "valid-hotel", "valid-flight")
	booked, answer, err := api.Book(ctx).BookRequest(*wanted).IdempotencyKey("go-1").Execute()
	check(err == nil && answer.StatusCode == 200, "booked:", err)
	check(booked.Cancelled != nil && !*booked.Cancelled && *booked.Car == "Car: valid-car", booked)
	again, _, err := api.Book(ctx).BookRequest(*wanted).IdempotencyKey("go-1").Execute()
	check(err == nil && again.UserId == booked.UserId, "booked again:", err)

	other := *wanted
	other.Hotel = "invalid-hotel"
	undone, answer, err := api.Book(ctx).BookRequest(other).Execute()
	check(err == nil && answer.StatusCode == 200, "rolled back:", err)
	check(undone.GetCancelled() && undone.GetReason() != "" && undone.Car == nil, undone)

	accepted, answer, err := api.Book(ctx).BookRequest(*wanted).Prefer("respond-async").Execute()
	check(err == nil && answer.StatusCode == 202, "accepted:", err)
	check(accepted.Cancelled == nil && accepted.GetStatus() == "running", accepted)
	check(accepted.GetLocation() == "/bookings/"+accepted.UserId, accepted)

	found, _, err := api.GetBooking(ctx, accepted.UserId).Wait(20).Execute()
	check(err == nil && found.Status == "booked" && len(found.Steps) == 3, "looked up:", err)
	check(found.Reservations["hotel"] == "valid-hotel", found)

	page, _, err := api.ListBookings(ctx).Limit(2).Execute()
	check(err == nil && len(page.Bookings) == 2, "listed:", err)
	check(page.Bookings[0].UserId == accepted.UserId && page.Bookings[1].UserId == undone.UserId)
	page, _, err = api.ListBookings(ctx).Limit(1).Cursor(page.GetNextCursor()).Execute()
	check(err == nil && len(page.Bookings) == 1, "listed by its cursor:", err)
	check(page.Bookings[0].UserId == booked.UserId && page.Bookings[0].Name == " Łukasz")

	cancelled, _, err := api.CancelBooking(ctx, booked.UserId).Execute()
	check(err == nil && cancelled.Status == "cancelled", "cancelled:", err)
	check(len(cancelled.Reservations) == 0, cancelled)

	_, answer, err = api.Book(ctx).BookRequest(other).IdempotencyKey("go-1").Execute()
	check(err != nil && answer.StatusCode == 422, "refused:", err)
	problem, known := err.(*trips.GenericOpenAPIError).Model().(trips.ProblemDetails)
	check(known && problem.Status == 422 && problem.Detail != "", "a problem:", err)
}
